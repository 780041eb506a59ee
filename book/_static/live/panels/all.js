// Every panel by the name that a page asks for it with.

import { cloud } from "./cloud.js";
import { landing } from "./landing.js";

export const panels = { cloud, landing };
