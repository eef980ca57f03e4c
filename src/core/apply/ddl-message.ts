/**
 * The content of a logical message with prefix `mtm-ddl`: one command that every node runs at this place of
 * the transaction, between the row changes around it (architecture §2). Written by the event trigger in the
 * origin's PostgreSQL or announced by the gateway for commands that event triggers do not see.
 */
export interface DdlMessage {
  /** One statement, as it is to be run at the peers. */
  readonly command: string;
  /** PostgreSQL's command tag, for logs and errors. */
  readonly tag: string;
  /**
   * The user that the gateway authenticated: the peer runs the command as this user, so a forger gains
   * nothing.
   */
  readonly sessionUser: string;
  /** The `role` setting: a role name or `none`. */
  readonly role: string;
  /** search_path and the other settings that change the meaning of DDL, as text. */
  readonly settings: Readonly<Record<string, string>>;
}
