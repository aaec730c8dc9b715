import { expect, it } from '@jest/globals';
import { backupCredential, credentialsForAgent } from './credential.ts';

const named = (host: string) => ({ host, username: `user of ${host}`, password: 'x' });
const repository = 'r.test:5000/berth/team-a.web';

it.each([
  { when: 'nobody has one', secrets: [], own: [], want: undefined },
  { when: 'only the operator has one', secrets: [], own: ['r.test:5000'], want: 'r.test:5000' },
  { when: 'a Secret has the address', secrets: ['r.test:5000'], own: ['r.test:5000/berth'], want: 'r.test:5000' },
  { when: 'Secrets have other addresses', secrets: ['other.test'], own: ['r.test:5000/berth'], want: 'r.test:5000/berth' },
  { when: 'all are for other addresses', secrets: ['r.test'], own: ['r.test:5000/other'], want: undefined },
])('$when: $want', ({ secrets, own, want }) => {
  expect(backupCredential(repository, secrets.map(named), own.map(named))?.host).toBe(want);
});

it('no repository, no credential', () => expect(backupCredential('nonsense', [named('nonsense')], [])).toBeUndefined());

it.each([
  { when: 'nothing of a backup is asked', repository: undefined, secrets: ['a.test'], own: ['r.test:5000'], want: ['a.test'] },
  { when: 'a Secret has one', repository, secrets: ['a.test', 'r.test:5000'], own: ['r.test:5000'], want: ['a.test', 'r.test:5000'] },
  { when: 'only the operator has one', repository, secrets: ['a.test'], own: ['r.test:5000'], want: ['a.test', repository] },
  { when: 'nobody has one', repository, secrets: ['a.test'], own: [], want: ['a.test'] },
])('an agent is given, when $when: $want', ({ repository: of, secrets, own, want }) => {
  const given = credentialsForAgent(of, secrets.map(named), own.map(named));
  expect(given.map(({ host }) => host)).toEqual(want);
});
