import { createHash } from 'node:crypto';
import type { ServiceError } from '@grpc/grpc-js';
import { type Clock, sleep } from '../../process/clock.ts';
import { type ContainerdConnection, failure } from './connection.client.ts';
import { ContainerdError, isAlreadyExists, isNotFound, status } from './containerd-error.ts';
import { ContentService, WriteAction, WriteContentRequest, type WriteContentResponse } from './gen/services/content/v1/content.ts';

const writeMs = 60_000;
const pollMs = 100;

/** What a blob of this text is called, and how many bytes it has. */
export function descriptorOf(text: string): { readonly digest: string; readonly size: number } {
  return { digest: `sha256:${createHash('sha256').update(text).digest('hex')}`, size: Buffer.byteLength(text) };
}

/** Writes a small blob under a lease; one that is there already is what was wanted. `ref` names the write while it is under way. */
export async function writeBlob(
  connection: ContainerdConnection,
  text: string,
  { ref, lease, labels }: { readonly ref: string; readonly lease: string; readonly labels: Readonly<Record<string, string>> },
): Promise<{ readonly digest: string; readonly size: number }> {
  const data = Buffer.from(text);
  const { digest, size } = descriptorOf(text);
  const request = WriteContentRequest.fromPartial({
    action: WriteAction.COMMIT,
    ref,
    total: size,
    expected: digest,
    data,
    labels: { ...labels },
  });
  try {
    await write(connection, request, lease);
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
  return { digest, size };
}

/**
 * Waits until nothing writes under this ref any more, and removes what was written. That a writer has it is seen by the lock that containerd holds for
 * it: a call that was given up goes on there for a while.
 */
export async function endWrite(connection: ContainerdConnection, clock: Clock, ref: string, signal?: AbortSignal): Promise<void> {
  for (;;) {
    try {
      await write(connection, WriteContentRequest.fromPartial({ action: WriteAction.STAT, ref }));
      break;
    } catch (error) {
      // Locked and away have one code; a containerd that comes back has no writers.
      const isHeld = error instanceof ContainerdError && error.grpcCode === status.unavailable;
      if (!isHeld) throw error;
      await sleep(clock, pollMs, signal);
    }
  }
  await connection.call(ContentService.abort, { ref }).catch((error: unknown) => {
    if (!isNotFound(error)) throw error;
  });
}

/** One message, and the answer to it; resolves when containerd has let the ref go. */
function write(connection: ContainerdConnection, request: WriteContentRequest, lease?: string): Promise<WriteContentResponse> {
  return new Promise((resolve, reject) => {
    const stream = connection.duplex(ContentService.write, writeMs, lease);
    const answers: WriteContentResponse[] = [];
    stream.on('data', (answer: WriteContentResponse) => answers.push(answer));
    stream.on('error', (error: ServiceError) => reject(failure(ContentService.write.path, error)));
    stream.on('status', ({ code }: { readonly code: number }) => {
      const [answer] = answers;
      if (code !== 0) return;
      if (answer === undefined) reject(failure(ContentService.write.path, null));
      else resolve(answer);
    });
    stream.write(request);
    stream.end();
  });
}
