#!/usr/bin/env node
/** The program mtm-gateway: hands its arguments to src/cli and ends with the exit code that comes back. */
import { runCommandLine } from './cli/command-line.ts';

process.exit(await runCommandLine(process.argv.slice(2)));
