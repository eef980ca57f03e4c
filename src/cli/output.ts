/** What commands write on standard output. */

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Notices of the cluster, without the mark that they have among those of a server. */
export function sayRemarks(remarks: readonly string[]): void {
  for (const remark of remarks) say(remark.replace('[multimaster] ', ''));
}
