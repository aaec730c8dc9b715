import type { ContainerdConnection } from './connection.client.ts';
import { type Container, ContainersService } from './gen/services/containers/v1/containers.ts';

/**
 * The records of the containers that match one of the filters; of all when there is none. As a stream, one message each: an answer with
 * all of them carries every OCI spec too, and containerd sends no message above 16 MiB. What else is listed in one answer stays far below
 * that for as many containers as a machine can have: a task is some 300 bytes, an image its name, its digest and its labels.
 */
export async function listContainers(
  connection: Pick<ContainerdConnection, 'collect'>,
  filters: readonly string[],
): Promise<readonly Container[]> {
  const messages = await connection.collect(ContainersService.listStream, { filters: [...filters] });
  return messages.flatMap(({ container }) => container ?? []);
}
