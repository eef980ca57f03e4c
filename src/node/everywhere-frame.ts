/** The question to the client's own server session of what a command for all nodes names. */
import { quoteLiteral, quoteName } from '../core/apply/quoting.ts';
import type { EverywhereCommand } from '../core/statement/everywhere-command.ts';

/** mtm.everywhere_frame(), sql/everywhere.sql. */
export function frameSql({ what, relation, partition, name, columns, lenient }: EverywhereCommand): string {
  const paths = [relation, partition].filter((path) => path.length > 0);
  const names = paths.map((path) => quoteLiteral(path.map(quoteName).join('.')));
  const texts = (list: readonly string[]): string => `ARRAY[${list.join(', ')}]::pg_catalog.text[]`;
  return (
    `SELECT mtm.everywhere_frame(${quoteLiteral(what)}, ${texts(names)}, ${quoteLiteral(name)}, ` +
    `${texts(columns.map(quoteLiteral))}, ${lenient})`
  );
}
