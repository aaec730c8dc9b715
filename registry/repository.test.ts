import { expect, it } from '@jest/globals';
import { apiHost, formatRepository, parseRepository } from './repository.ts';

it.each([
  { text: 'registry.example.com/berth', want: { host: 'registry.example.com', repository: 'berth' } },
  { text: '127.0.0.1:5000/a/b_c/d--e.f', want: { host: '127.0.0.1:5000', repository: 'a/b_c/d--e.f' } },
  { text: '[::1]:5000/a', want: { host: '[::1]:5000', repository: 'a' } },
  { text: 'index.docker.io/team/tool', want: { host: 'docker.io', repository: 'team/tool' } },
  { text: 'registry.example.com', want: undefined },
  { text: 'registry.example.com/', want: undefined },
  { text: 'registry.example.com/a:tag', want: undefined },
  { text: 'registry.example.com/a@sha256:0', want: undefined },
  { text: 'https://registry.example.com/a', want: undefined },
  { text: 'registry.example.com/A', want: undefined },
  { text: 'registry.example.com/../a', want: undefined },
  { text: 'registry.example.com/a//b', want: undefined },
  { text: 'user@registry.example.com/a', want: undefined },
  { text: `r/${'a'.repeat(256)}`, want: undefined },
])('$text', ({ text, want }) => {
  const parsed = parseRepository(text);
  expect(parsed).toEqual(want);
  if (parsed !== undefined && parsed.host !== 'docker.io') expect(formatRepository(parsed)).toBe(text);
});

it('Docker Hub answers elsewhere', () => {
  expect(apiHost({ host: 'docker.io', repository: 'a/b' })).toBe('registry-1.docker.io');
  expect(apiHost({ host: 'r.example.com', repository: 'a/b' })).toBe('r.example.com');
});
