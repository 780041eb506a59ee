// The landing page's panel.

/** @param {HTMLElement} host */
export async function landing(host) {
  host.append("");
}
