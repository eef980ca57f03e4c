/**
 * PAUSE of the admin console: what is looked at where a unit begins.
 * Rule: plain flags, so that asking costs nothing; they outlive a node that begins anew with its server.
 */

export interface PauseFlag {
  on: boolean;
}

export interface PauseFlags {
  /** Of the database's sessions. */
  readonly own: PauseFlag;
  /** Of sessions in databases that the cluster does not replicate. */
  readonly outside: PauseFlag;
}
