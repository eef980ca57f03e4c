/**
 * All commands, in the order in which --help lists them. Rule: read only when another command than `serve` is
 * asked for (command-line.ts).
 */
import type { Argv } from 'yargs';
import { checkCommand } from './check.ts';
import { addNodeCommand, dropNodeCommand, nodesCommand, statusCommand } from './cluster-commands.ts';
import { compareCommand } from './compare.ts';
import { alterSequencesCommand, checkQueryCommand } from './comparison-commands.ts';
import { devCommand } from './dev.ts';
import { forgetClusterCommand } from './forget-cluster.ts';
import { initCommand } from './init.ts';
import { joinCommand } from './join.ts';
import { prepareUpgradeCommand } from './prepare-upgrade.ts';
import { reloadCommand } from './reload.ts';
import { repairCommand } from './repair.ts';
import { serveCommand } from './serve.ts';

export function addCommands(words: Argv): Argv {
  return words
    .command(devCommand)
    .command(initCommand)
    .command(serveCommand)
    .command(checkCommand)
    .command(reloadCommand)
    .command(statusCommand)
    .command(nodesCommand)
    .command(addNodeCommand)
    .command(joinCommand)
    .command(dropNodeCommand)
    .command(prepareUpgradeCommand)
    .command(forgetClusterCommand)
    .command(compareCommand)
    .command(repairCommand)
    .command(checkQueryCommand)
    .command(alterSequencesCommand);
}
