import { describe, expect, it } from '@jest/globals';
import { resolveUser, type UserRequest } from './users.ts';

const database = {
  passwd:
    '# comment\nroot:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nodd:x:nine:9::/:/bin/sh\n12:x:77:77::/twelve:\nbroken\n',
  group: 'root:x:0:\nuser:x:1000:\nstaff:x:50:other,user\nwheel:x:10:user, user\nbad:x:ten:user\n',
};
const resolved = (uid: number, gid: number, additionalGids: number[], home: string) => ({ user: { uid, gid, additionalGids }, home });

describe('resolveUser', () => {
  const cases: readonly { given: Partial<UserRequest>; want: ReturnType<typeof resolved> }[] = [
    { given: {}, want: resolved(0, 0, [], '/root') },
    { given: { imageUser: 'user' }, want: resolved(1000, 1000, [10, 50], '/home/user') },
    { given: { imageUser: '1000' }, want: resolved(1000, 1000, [10, 50], '/home/user') },
    { given: { imageUser: 'user:staff' }, want: resolved(1000, 50, [10], '/home/user') },
    { given: { imageUser: 'user:7' }, want: resolved(1000, 7, [10, 50], '/home/user') },
    { given: { imageUser: '4242' }, want: resolved(4242, 0, [], '/') },
    { given: { imageUser: '12' }, want: resolved(77, 77, [], '/twelve') },
    { given: { imageUser: 'user:staff', runAsUser: 0 }, want: resolved(0, 0, [], '/root') },
    { given: { imageUser: 'user', runAsGroup: 50 }, want: resolved(1000, 50, [10], '/home/user') },
    { given: { runAsUser: 4242, runAsGroup: 99 }, want: resolved(4242, 99, [], '/') },
  ];
  it.each(cases)('$given', ({ given, want }) => {
    expect(resolveUser({ imageUser: '', ...given }, database)).toEqual(want);
  });

  it.each([
    { imageUser: 'nobody-here', code: 'UserNotFound', says: "user 'nobody-here' is not in its /etc/passwd" },
    { imageUser: 'odd', code: 'UserNotFound', says: "user 'odd'" },
    { imageUser: 'user:none', code: 'UserNotFound', says: "group 'none' is not in its /etc/group" },
    { imageUser: '4294967295', code: 'InvalidSpec', says: 'out of range' },
  ])('refuses $imageUser: $code', ({ imageUser, code, says }) => {
    const resolve = () => resolveUser({ imageUser }, database);
    expect(resolve).toThrow(says);
    expect(resolve).toThrow(expect.objectContaining({ code }));
  });

  it('knows root without any file', () => {
    expect(resolveUser({ imageUser: '' }, { passwd: '', group: '' })).toEqual(resolved(0, 0, [], '/root'));
  });
});
