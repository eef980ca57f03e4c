/** Opening the peer port, whether it is one cluster's (peer-listener.ts) or shared (peer-port.ts). */
import type { Server } from 'node:net';
import { GatewayError } from '../../lib/gateway-error.ts';

/**
 * Rejects with address-in-use, or config-invalid when the address cannot be listened on at all.
 * `onAcceptFailed`: the process is short of something (descriptors); the port stays open.
 */
export async function listenForPeers(
  server: Server,
  { host, port }: { readonly host: string; readonly port: number },
  onAcceptFailed: (error: Error) => void,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const refuse = (cause: NodeJS.ErrnoException): void => {
      const taken = cause.code === 'EADDRINUSE';
      const why = taken ? 'the address is in use' : cause.message;
      const text = `cannot listen for peers on ${host}:${port}: ${why}`;
      reject(new GatewayError(taken ? 'address-in-use' : 'config-invalid', text, { cause }));
    };
    server.once('error', refuse);
    server.listen({ host, port }, () => {
      server.off('error', refuse);
      server.on('error', onAcceptFailed);
      resolve();
    });
  });
}

/** The port that is listened on; 0 when none is. */
export function portOf(server: Server): number {
  const address = server.address();
  return address === null || typeof address === 'string' ? 0 : address.port;
}
