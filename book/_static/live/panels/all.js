// Every panel by the name that a page asks for it with.

import { affinityPanel } from "./affinity.js";
import { landing } from "./landing.js";
import { phase } from "./phase.js";
import { polygon } from "./polygon.js";
import { poolWindow } from "./window.js";

export const panels = { affinity: affinityPanel, landing, phase, polygon, window: poolWindow };
