// Every panel by the name that a page asks for it with.

import { landing } from "./landing.js";

export const panels = { landing };
