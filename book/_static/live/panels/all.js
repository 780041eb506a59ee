// Every panel by the name that a page asks for it with.

import { cloud } from "./cloud.js";
import { finding } from "./finding.js";
import { landing } from "./landing.js";
import { words } from "./words.js";

export const panels = { cloud, finding, landing, words };
