/**
 * What ends a command: the first signal asks for an orderly stop, the second ends at once. Rule: decides
 * nothing but that; what an orderly stop is, the command knows.
 */

const parentLookMs = 500;

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

/**
 * Resolves when npm or npx has ended that ran this program; never when the program was not run by them. They
 * pass a SIGTERM on to a shell between, which dies of it and tells nobody: without this the program would go
 * on alone.
 */
export async function endOfNpm(
  environment: NodeJS.ProcessEnv = process.env,
  parent: () => number = () => process.ppid,
): Promise<'npm ended'> {
  return new Promise((resolve) => {
    if (environment['npm_command'] === undefined) return;
    const first = parent();
    const look = setInterval(() => {
      if (parent() === first) return;
      clearInterval(look);
      resolve('npm ended');
    }, parentLookMs);
    look.unref();
  });
}
