/**
 * Definitions as sorted lines (mtm.definition_lines, sql/definitions.sql): what versions print differently,
 * and which lines are not on all nodes.
 * Rule: what is left out here is not compared between versions: each line says why.
 */
import type { NodeId } from '../identity.ts';

/** The lines that all versions from 15 on print alike. */
export function commonLines(lines: readonly string[]): string[] {
  return lines
    .filter((line) => !/^constraint .*: NOT NULL /s.test(line)) // 18 has constraints for NOT NULL
    .map(
      (line) =>
        line
          // 16 leaves out names of tables
          .replace(/^(rule CREATE RULE "_RETURN" AS\s+ON SELECT TO \S+)[^]*$/, '$1')
          .replaceAll(/(=[a-zA-Z*]*t?)m(\*?\/)/g, '$1$2'), // 17 knows MAINTAIN
    );
}

/** By node the lines (or their digests) that not all nodes have. */
export function notEverywhere(lists: ReadonlyMap<NodeId, readonly string[]>): Map<NodeId, string[]> {
  const counts = new Map<string, number>();
  const sets = new Map([...lists].map(([node, lines]) => [node, new Set(lines)]));
  for (const lines of sets.values()) for (const line of lines) counts.set(line, (counts.get(line) ?? 0) + 1);
  return new Map(
    [...sets].map(([node, lines]) => [node, [...lines].filter((line) => counts.get(line) !== sets.size)]),
  );
}
