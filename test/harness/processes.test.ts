import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { randomUUID } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { isFree, listenerOf, requireFreePort } from './ports.ts';
import { isAlive, killAll, processesInSession, processesMarked, processRef, sendSignal } from './processes.ts';

describe('a process', () => {
  it('is not taken for another that has its pid', () => {
    const self = processRef(process.pid);
    expect(isAlive(self)).toBe(true);
    const earlier = { pid: process.pid, startTime: (self?.startTime ?? 0) - 1 };
    expect(isAlive(earlier)).toBe(false);
    expect(sendSignal(earlier, 'SIGKILL')).toBe(false);
  });

  it('is found by its mark and its session, with those that it started, and ended', async () => {
    const mark = randomUUID();
    const script = 'sleep 1000 & echo started; wait';
    const child = spawn('sh', ['-c', script], {
      env: { PATH: '/usr/bin:/bin', MARK: mark },
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await once(child.stdout, 'data');
    const marked = processesMarked(mark, 'MARK');
    expect(marked).toHaveLength(2);
    expect(processesInSession(child.pid ?? 0)).toEqual(marked);
    expect(await killAll(marked)).toEqual([]);
    expect(processesMarked(mark, 'MARK')).toEqual([]);
  });
});

describe('a port', () => {
  it('in use is refused with the process that listens', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    try {
      expect(await isFree(port)).toBe(false);
      expect(listenerOf(port)).toBe(process.pid);
      await expect(requireFreePort(port, 'registry', 'choose another')).rejects.toThrow(
        new RegExp(`^Port ${port}, which the registry needs, is used by process ${process.pid} .*: stop it, or choose another\\.$`),
      );
    } finally {
      server.close();
      await once(server, 'close');
    }
    expect(await isFree(port)).toBe(true);
  });
});
