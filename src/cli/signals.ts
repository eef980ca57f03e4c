/** Signals that end a command: the first asks for an orderly stop, the second ends at once. */

/** Resolves with the first SIGINT, SIGTERM or SIGHUP; `again` is called for each further one. */
export async function stopSignals(again: () => void): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let first = true;
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(name, () => {
        if (first) resolve(name);
        else again();
        first = false;
      });
    }
  });
}
