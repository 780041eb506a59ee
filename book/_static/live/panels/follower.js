// What is drawn and computed from something that moves.

/** The networks look when it has rested for so long, in milliseconds. */
const REST = 200;

/**
 * Keeps pictures and answer up with a pose: one picture per frame, and the networks once it rests. The newest
 * pose wins; what was asked about an older one is dropped.
 *
 * @param {Object} tasks
 * @param {() => number} tasks.count of pictures
 * @param {(v: number) => any} tasks.draw draws picture v of the newest pose and returns what `ask` needs of it
 * @param {(pictures: any[], isNewest: () => boolean) => Promise<any>} tasks.ask null if it stops because
 *   `isNewest` says no
 * @param {(answer: any) => void} tasks.onAnswer called with the answer to the newest pose
 * @returns {{moved: () => void, changed: (known: any) => void}} `moved` is called after each step of a
 *   movement; `changed` when there is something else to draw, with its answer if that is known, else null
 */
export function follower({ count, draw, ask, onAnswer }) {
  let [newest, answered, movedAt, running] = [0, 0, -Infinity, false];
  let drawn = []; // {pose, picture}

  /** The picture that has been outdated for the longest; undefined if none is. */
  function outdated() {
    const poses = Array.from({ length: count() }, (_, v) => drawn[v]?.pose ?? -1);
    const oldest = Math.min(...poses);
    return oldest === newest ? undefined : poses.indexOf(oldest);
  }

  async function run() {
    while (outdated() !== undefined || answered !== newest) {
      const v = outdated();
      if (v !== undefined) await drawOne(v);
      else if (performance.now() - movedAt < REST) await pause(REST / 4);
      else await answer(newest);
    }
  }

  async function drawOne(v) {
    drawn[v] = { pose: newest, picture: draw(v) };
    await new Promise(requestAnimationFrame);
  }

  async function answer(pose) {
    const pictures = drawn.slice(0, count()).map(({ picture }) => picture);
    const result = await ask(pictures, () => pose === newest);
    if (result === null || pose !== newest) return;
    answered = pose;
    onAnswer(result);
  }

  /** An error ends it until the next movement; whoever asked has shown it. */
  async function start() {
    if (running) return;
    running = true;
    await run().catch(() => {});
    running = false;
  }

  function moved() {
    newest += 1;
    movedAt = performance.now();
    start();
  }

  function changed(known) {
    newest += 1;
    movedAt = -Infinity;
    drawn = [];
    if (known !== null) {
      answered = newest;
      onAnswer(known);
    }
    start();
  }

  return { moved, changed };
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
