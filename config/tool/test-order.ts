/**
 * The order of test files: those that take longest first, so that at the end no core waits for the last one. Rule: only
 * an order; a file that is not in the list runs behind them, the larger ones first.
 */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** From a run in CI, about half a minute or more each. */
const long = [
  'simulation/membership',
  'drivers/matrix',
  'tables/types',
  'statements/matrix',
  'referee/cluster',
  'tables/relations',
  'failover/membership',
  'simulation/simulation',
  'failover/fail-points',
  'cluster/start-failures',
  'cluster/node-by-node',
  'failover/prepared-by-clients',
  'statements/leaks',
  'cluster/load',
  'cluster/checks',
  'tables/rows',
  'cluster/conflicts',
  'cluster/client-two-phase',
  'sensors/ddl-capture',
  'tools/restore',
  'recovery/upgrade',
  'drivers/npm',
  'drivers/queues',
  'notify/notify',
  'cluster/ddl',
  'cluster/open-commit',
  'simulation/exhaustive',
  'sensors/header',
  'cluster/failures',
  'console/console',
  'cluster/alter-sequences',
  'failover/open-fail-points',
];

function place({ moduleId }: TestSpecification): number {
  const found = long.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
  return found < 0 ? long.length : found;
}

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const usual = await super.sort(files); // One project after the other.
    const projects = Map.groupBy(usual, ({ project }) => project.name);
    return [...projects.values()].flatMap((own) => own.toSorted((one, other) => place(one) - place(other)));
  }
}
