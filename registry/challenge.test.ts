import { expect, it } from '@jest/globals';
import { parseChallenges } from './challenge.ts';

const bearer = (realm: string, service?: string, scope?: string) => ({ kind: 'Bearer', realm, service, scope });

it.each([
  { header: undefined, want: [] },
  { header: '', want: [] },
  { header: 'Negotiate', want: [] },
  { header: 'Basic realm="a"', want: [{ kind: 'Basic' }] },
  { header: 'bASIC', want: [{ kind: 'Basic' }] },
  {
    header: 'Bearer realm="https://a/token",service="a",scope="repository:x/y:pull,push"',
    want: [bearer('https://a/token', 'a', 'repository:x/y:pull,push')],
  },
  { header: 'bearer  realm = "https://a/token" , service=plain', want: [bearer('https://a/token', 'plain')] },
  { header: 'Bearer service="no realm"', want: [] },
  { header: 'Basic realm="a, Bearer realm=b"', want: [{ kind: 'Basic' }] },
  { header: 'Basic realm="a", Bearer realm="https://b"', want: [{ kind: 'Basic' }, bearer('https://b')] },
  { header: 'Bearer realm="https://b",service="x", Basic realm="a"', want: [bearer('https://b', 'x'), { kind: 'Basic' }] },
  { header: String.raw`Bearer realm="https://a",service="say \"hi\""`, want: [bearer('https://a', 'say "hi"')] },
])('$header', ({ header, want }) => expect(parseChallenges(header)).toEqual(want));
