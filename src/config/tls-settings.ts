/** What libpq's sslmode, sslrootcert, sslcert and sslkey say, for connections that this gateway opens. */

export const tlsModes = ['disable', 'require', 'verify-ca', 'verify-full'] as const;
/** `require`: encrypted, nobody is recognised. */
export type TlsMode = (typeof tlsModes)[number];

export interface TlsSettings {
  readonly mode: TlsMode;
  /** PEM files. */
  readonly rootCertFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
}

export const withoutTls: TlsSettings = {
  mode: 'disable',
  rootCertFile: undefined,
  certFile: undefined,
  keyFile: undefined,
};

/** What does not fit together: words that follow the name of where it stands. */
export function tlsProblem({ mode, rootCertFile, certFile, keyFile }: TlsSettings): string | undefined {
  const files = [rootCertFile, certFile, keyFile].some((file) => file !== undefined);
  if (mode === 'disable' && files) return 'names certificates and has sslmode=disable';
  if (mode === 'verify-ca' && rootCertFile === undefined) return 'has sslmode=verify-ca without sslrootcert';
  if ((certFile === undefined) !== (keyFile === undefined))
    return 'needs both sslcert and sslkey, or neither';
  return undefined;
}
