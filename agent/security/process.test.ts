import { describe, expect, it } from '@jest/globals';
import { resolveProcess } from './process.ts';

const image = { entrypoint: ['/entry'], cmd: ['cmd'], env: ['PATH=/image', 'FROM_IMAGE=1'], workingDir: '/image' };
const none = { command: [], args: [], env: [], workingDir: '' };
const defaults = { hostname: 'box', home: '/home/user' };

describe('resolveProcess', () => {
  it.each([
    { when: 'the sandbox says nothing', config: {}, want: ['/entry', 'cmd'] },
    { when: 'the sandbox has args', config: { args: ['a'] }, want: ['/entry', 'a'] },
    { when: 'the sandbox has a command', config: { command: ['c'] }, want: ['c'] },
    { when: 'the sandbox has both', config: { command: ['c'], args: ['a'] }, want: ['c', 'a'] },
  ])('$when: $want', ({ config, want }) => {
    expect(resolveProcess({ ...none, ...config }, image, defaults).args).toEqual(want);
  });

  it('has the variables of the sandbox before those of the image before its own, each once', () => {
    const env = [
      { name: 'FROM_IMAGE', value: '2=2' },
      { name: 'HOME', value: '/other' },
    ];
    expect(resolveProcess({ ...none, env }, image, defaults).env).toEqual(['PATH=/image', 'HOSTNAME=box', 'HOME=/other', 'FROM_IMAGE=2=2']);
  });

  it.each([
    { config: '/mine', own: '/image', want: '/mine' },
    { config: '', own: '/image', want: '/image' },
    { config: '', own: '', want: '/' },
  ])('works in $want', ({ config, own, want }) => {
    expect(resolveProcess({ ...none, workingDir: config }, { ...image, workingDir: own }, defaults).cwd).toBe(want);
  });

  it('refuses an image that says nothing when the sandbox says nothing', () => {
    const resolve = () => resolveProcess(none, { ...image, entrypoint: [], cmd: [] }, defaults);
    expect(resolve).toThrow(expect.objectContaining({ code: 'CommandMissing' }));
  });
});
