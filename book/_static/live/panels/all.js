// Every panel by the name that a page asks for it with.

import { finding } from "./finding.js";
import { landing } from "./landing.js";
import { words } from "./words.js";

export const panels = { finding, landing, words };
