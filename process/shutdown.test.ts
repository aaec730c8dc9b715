import { EventEmitter } from 'node:events';
import { describe, expect, it } from '@jest/globals';
import { FakeClock, settle } from './fake-clock.ts';
import { silentLogger } from './log.ts';
import { createShutdown } from './shutdown.ts';

function setUp() {
  const done: string[] = [];
  const clock = new FakeClock();
  const host = Object.assign(new EventEmitter(), { exit: (code: number) => void done.push(`exit ${code}`) });
  const shutdown = createShutdown({ clock, log: silentLogger, deadlineMs: 1000, host });
  return { done, clock, host, shutdown };
}

describe('shutdown', () => {
  it('runs the steps one after the other, the last added first, then exits with 0', async () => {
    const { done, clock, host, shutdown } = setUp();
    shutdown.add('log', () => void done.push('log'));
    shutdown.add('server', async () => {
      await settle();
      done.push('server');
    });
    shutdown.add('controller', () => void done.push(`controller ${shutdown.signal.aborted}`));
    host.emit('SIGTERM');
    await clock.run(0);
    await settle();
    expect(done).toEqual(['controller true', 'server', 'log', 'exit 0']);
    expect(clock.timers).toBe(0);
  });

  it('goes on when a step fails', async () => {
    const { done, clock, host, shutdown } = setUp();
    shutdown.add('first', () => void done.push('first'));
    shutdown.add('second', () => Promise.reject(new Error('no')));
    host.emit('SIGINT');
    await clock.run(0);
    expect(done).toEqual(['first', 'exit 0']);
  });

  it('exits with 1 at the deadline', async () => {
    const { done, clock, host, shutdown } = setUp();
    shutdown.add('stuck', () => new Promise(() => undefined));
    host.emit('SIGTERM');
    await clock.run(999);
    expect(done).toEqual([]);
    await clock.run(1);
    expect(done).toEqual(['exit 1']);
  });

  it('exits at once at the second signal', async () => {
    const { done, clock, host, shutdown } = setUp();
    shutdown.add('stuck', () => new Promise(() => undefined));
    host.emit('SIGTERM');
    host.emit('SIGINT');
    await clock.run(0);
    expect(done).toEqual(['exit 1']);
  });

  it.each(['uncaughtException', 'unhandledRejection'])('ends in order with 1 after an %s', async (event) => {
    const { done, clock, host, shutdown } = setUp();
    shutdown.add('step', () => void done.push('step'));
    host.emit(event, new Error('bug'));
    await clock.run(0);
    expect(done).toEqual(['step', 'exit 1']);
  });
});
