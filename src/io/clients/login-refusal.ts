/** Why a client is not let in, beside what the server itself says. */
import { errorResponse } from '../../core/wire/messages.ts';
import type { ErrorText } from '../../core/wire/messages.ts';
import type { SessionServices } from './session-services.ts';

export function serverUnreachable(reason: string): ErrorText {
  return {
    severity: 'FATAL',
    sqlstate: '57P03',
    message: `[multimaster] the local PostgreSQL server cannot be reached: ${reason}`,
  };
}

/** Undefined: the user may work unsupervised. Never rejects. */
export async function bypassRefusal(
  services: Pick<SessionServices, 'mayBypass'>,
  user: string,
): Promise<Uint8Array | undefined> {
  let why: string;
  try {
    if (await services.mayBypass(user)) return undefined;
    why = 'only superusers and members of multimaster.admin_role may';
  } catch (error) {
    why = `whether the user may is not known: ${(error as Error).message}`;
  }
  return errorResponse({
    severity: 'FATAL',
    sqlstate: '42501',
    message: `[multimaster] permission denied for a session with application_name=mtm_admin: ${why}`,
  });
}
