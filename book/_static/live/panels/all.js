// Every panel by the name that a page asks for it with.

import { affinityPanel } from "./affinity.js";
import { cloud } from "./cloud.js";
import { finding } from "./finding.js";
import { landing } from "./landing.js";
import { phase } from "./phase.js";
import { polygon } from "./polygon.js";
import { poolWindow } from "./window.js";
import { words } from "./words.js";

export const panels = { affinity: affinityPanel, cloud, finding, landing, phase, polygon, window: poolWindow, words };
