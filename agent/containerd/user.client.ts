import { type ResolvedUser, resolveUser } from '../security/users.ts';
import type { Mount } from './gen/types/mount.ts';
import { readInRoot } from './layers.client.ts';

export interface WantedUser {
  /** The image's `User`. */
  readonly imageUser: string;
  readonly runAsUser: number | undefined;
  readonly runAsGroup: number | undefined;
}

/**
 * Who a process is in a container on these mounts, by its own /etc/passwd and /etc/group.
 * @throws AttemptError `UserNotFound`, `InvalidSpec`
 */
export async function userIn(mounts: readonly Mount[], { imageUser, runAsUser, runAsGroup }: WantedUser): Promise<ResolvedUser> {
  const [passwd, group] = await Promise.all([readInRoot(mounts, '/etc/passwd'), readInRoot(mounts, '/etc/group')]);
  const request = {
    imageUser,
    ...(runAsUser === undefined ? {} : { runAsUser }),
    ...(runAsGroup === undefined ? {} : { runAsGroup }),
  };
  return resolveUser(request, { passwd: passwd ?? '', group: group ?? '' });
}
