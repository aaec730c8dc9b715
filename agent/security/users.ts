import { AttemptError } from '../copies/attempt-error.ts';
import type { ContainerUser } from './oci.ts';

/** Who a container's main process is. */
export interface ResolvedUser {
  readonly user: ContainerUser;
  readonly home: string;
}

export interface UserRequest {
  /** The image's `User`: empty, `name`, `uid`, and either with `:group`. */
  readonly imageUser: string;
  readonly runAsUser?: number;
  readonly runAsGroup?: number;
}

/** Contents of /etc/passwd and /etc/group; empty where the image has none. */
export interface UserDatabase {
  readonly passwd: string;
  readonly group: string;
}

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

const largestID = 2 ** 32 - 2;

/**
 * The user and groups of the main process. What the sandbox asks for goes before what the image says; a group that neither names is the
 * user's own by /etc/passwd, else 0; the other groups are those of /etc/group.
 * @throws AttemptError `UserNotFound` when a name is unknown, `InvalidSpec` when a number is out of range.
 */
export function resolveUser(request: UserRequest, database: UserDatabase): ResolvedUser {
  const [imageUser = '', imageGroup = ''] = request.imageUser.split(':');
  const users = parsePasswd(database.passwd);
  const groups = parseGroup(database.group);
  const wanted = request.runAsUser === undefined ? imageUser || '0' : String(request.runAsUser);
  const entry = users.find((user) => user.name === wanted) ?? users.find((user) => String(user.uid) === wanted);
  const uid = inRange(entry?.uid ?? parseID(wanted, 'user', '/etc/passwd'), 'user');
  const named = chosenGroup(request.runAsUser === undefined ? imageGroup : '', groups);
  const gid = inRange(request.runAsGroup ?? named ?? entry?.gid ?? 0, 'group');
  return { user: { uid, gid, additionalGids: otherGroups(entry, gid, groups) }, home: homeOf(entry, uid) };
}

function otherGroups(entry: PasswdEntry | undefined, gid: number, groups: readonly GroupEntry[]): readonly number[] {
  const member = groups.filter((group) => entry !== undefined && group.members.includes(entry.name)).map((group) => group.gid);
  return [...new Set(member)].filter((other) => other !== gid).sort((a, b) => a - b);
}

function homeOf(entry: PasswdEntry | undefined, uid: number): string {
  if (entry?.home.startsWith('/') === true) return entry.home;
  return uid === 0 ? '/root' : '/';
}

function chosenGroup(wanted: string, groups: readonly GroupEntry[]): number | undefined {
  if (wanted === '') return undefined;
  return groups.find((group) => group.name === wanted)?.gid ?? parseID(wanted, 'group', '/etc/group');
}

function parseID(text: string, what: string, file: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  throw new AttemptError(
    'UserNotFound',
    `The image's ${what} '${text}' is not in its ${file}: set securityContext.runAsUser or correct the image.`,
  );
}

function inRange(id: number, what: string): number {
  if (id <= largestID) return id;
  throw new AttemptError('InvalidSpec', `The ${what} ${id} is out of range: at most ${largestID}.`);
}

function parsePasswd(content: string): readonly PasswdEntry[] {
  return records(content, 6).flatMap(([name = '', , uid = '', gid = '', , home = '']) =>
    /^\d+$/.test(uid) && /^\d+$/.test(gid) ? [{ name, uid: Number(uid), gid: Number(gid), home }] : [],
  );
}

function parseGroup(content: string): readonly GroupEntry[] {
  return records(content, 3).flatMap(([name = '', , gid = '', members = '']) =>
    /^\d+$/.test(gid) ? [{ name, gid: Number(gid), members: members.split(',').filter((member) => member !== '') }] : [],
  );
}

function records(content: string, fields: number): readonly (readonly string[])[] {
  return content
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(':').map((field) => field.trim()))
    .filter((record) => record.length >= fields);
}
