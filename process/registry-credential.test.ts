import { expect, it } from '@jest/globals';
import { credentialFor } from './registry-credential.ts';

const named = (host: string) => ({ host, username: host, password: 'x' });
const split = (image: string) => {
  const [host = '', ...path] = image.split('/');
  return { host, repository: path.join('/') };
};

it.each([
  { image: 'registry.example.com/a/b', has: ['registry.example.com'], want: 'registry.example.com' },
  { image: 'registry.example.com/a/b', has: ['https://registry.example.com/v2/'], want: 'https://registry.example.com/v2/' },
  { image: 'registry.example.com/a/b', has: ['other.example.com'], want: undefined },
  { image: 'registry.example.com:5000/a', has: ['registry.example.com'], want: undefined },
  { image: 'registry.example.com/a/b', has: ['*.example.com'], want: '*.example.com' },
  { image: 'deep.registry.example.com/a', has: ['*.example.com'], want: undefined },
  { image: 'evil-registry.example.com.attacker.net/a', has: ['*.example.com'], want: undefined },
  { image: 'r.example.com/team/a', has: ['r.example.com', 'r.example.com/team'], want: 'r.example.com/team' },
  { image: 'r.example.com/team-b/a', has: ['r.example.com/team-a', 'r.example.com/team-b'], want: 'r.example.com/team-b' },
  { image: 'r.example.com/other/a', has: ['r.example.com/team-a', 'r.example.com/team-b'], want: undefined },
  { image: 'r.example.com/team/a', has: ['https://r.example.com/team/'], want: 'https://r.example.com/team/' },
  { image: 'r.example.com/teamwork/a', has: ['r.example.com/team'], want: undefined },
  { image: 'docker.io/library/busybox', has: ['https://index.docker.io/v1/'], want: 'https://index.docker.io/v1/' },
  { image: 'docker.io/team/tool', has: ['docker.io'], want: 'docker.io' },
  { image: 'docker.io/library/busybox', has: ['registry-1.docker.io'], want: 'registry-1.docker.io' },
  { image: 'docker.io/library/busybox', has: [], want: undefined },
])('$image with $has: $want', ({ image, has, want }) => {
  expect(credentialFor(split(image), has.map(named))?.host).toBe(want);
});
