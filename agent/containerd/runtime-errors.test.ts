import { describe, expect, it } from '@jest/globals';
import { attemptedOf, isShimGone, runtimeError, runtimeFailed } from './runtime-errors.ts';

const about = { command: 'run-me', workingDir: '/w', memoryBytes: 4096 };
const create = (said: string) => `failed to create shim task: OCI runtime create failed: ${said}`;
const runc = (said: string) => create(`runc create failed: unable to start container process: ${said}`);

/** What runc 1.1 and crun 1.8 say. */
describe('runtimeError', () => {
  it.each([
    { of: 'crun', said: create('executable file `nope` not found in $PATH: No such file or directory'), want: 'CommandNotFound' },
    { of: 'crun', said: create('executable file `/nope/x` not found in $PATH: No such file or directory'), want: 'CommandNotFound' },
    { of: 'crun', said: create('open executable: Permission denied'), want: 'CommandNotExecutable' },
    { of: 'crun', said: create('open executable: Operation not permitted'), want: 'CommandNotExecutable' },
    { of: 'crun', said: create('chdir `/etc/passwd`: Not a directory'), want: 'WorkingDirNotFound' },
    { of: 'crun', said: create('OOM: the memory limit could be too low'), want: 'OutOfMemoryAtStart' },
    { of: 'runc', said: runc('exec: "nope": executable file not found in $PATH: unknown'), want: 'CommandNotFound' },
    { of: 'runc', said: runc('exec: "/nope/x": stat /nope/x: no such file or directory'), want: 'CommandNotFound' },
    { of: 'runc', said: runc('exec: "/etc/noexec": permission denied'), want: 'CommandNotExecutable' },
    { of: 'runc', said: 'exec /bin/x: exec format error', want: 'CommandNotExecutable' },
    { of: 'runc', said: runc('error during container init: mkdir /etc/passwd: not a directory'), want: 'WorkingDirNotFound' },
    {
      of: 'runc',
      said: runc('error during container init: chdir to cwd ("/x") set in config.json failed: permission denied'),
      want: 'WorkingDirNotFound',
    },
    { of: 'runc', said: runc('container init was OOM-killed (memory limit too low?)'), want: 'OutOfMemoryAtStart' },
    {
      of: 'runc',
      said: runc(
        'error during container init: error setting cgroup config for procHooks process: unable to set memory limit to 1048576 (current usage: 2502656, peak usage: 2768896)',
      ),
      want: 'OutOfMemoryAtStart',
    },
    { of: 'both', said: create('mkdir /run/x: no space left on device'), want: 'OutOfDisk' },
  ])('$of: $said → $want', ({ said, want }) => {
    const error = runtimeError(said, about);
    expect(error?.code).toBe(want);
    expect(error?.message).toMatch(/^[A-Z][^\n]*\.$/);
  });

  it.each(['failed to create shim task: something new', 'ttrpc: closed', 'start failed: exit status 1'])('says nothing of "%s"', (said) => {
    expect(runtimeError(said, about)).toBeUndefined();
  });
});

it('runtimeFailed keeps the words of the runtime without what was put in front', () => {
  expect(runtimeFailed(create('something new: unknown')).message).toBe('The container could not be made: something new');
});

describe('attemptedOf', () => {
  it('reads the spec of a container', () => {
    const spec = { process: { args: ['run-me', 'x'], cwd: '/w' }, linux: { resources: { memory: { limit: 4096 } } } };
    expect(attemptedOf(JSON.stringify(spec))).toEqual(about);
  });
  it('does without', () => {
    expect(attemptedOf('')).toMatchObject({ memoryBytes: 0 });
  });
});

it('isShimGone tells a missing shim from a failing runtime', () => {
  expect(isShimGone("failed to start shim: can't find shim for sandbox a-1: not found")).toBe(true);
  expect(isShimGone(create('executable file `nope` not found in $PATH'))).toBe(false);
});
