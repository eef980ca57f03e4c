/** Signals that end a command: the first asks for an orderly stop, the second ends at once. */

/** Resolves with the first of them; `again` is called for each further one. */
export async function stopSignals(
  again: () => void,
  names: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'],
): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let first = true;
    for (const name of names) {
      process.on(name, () => {
        if (first) resolve(name);
        else again();
        first = false;
      });
    }
  });
}
