import { describe, expect, it } from '@jest/globals';
import { FakeClock } from '../../process/fake-clock.ts';
import type { TaskFiles } from './files.client.ts';
import { TaskNews } from './news.client.ts';
import type { TaskPeer } from './peer.ts';
import { emptyTasks } from './reduce.ts';
import type { TaskRun } from './task-run.client.ts';

const aPeer = (): TaskPeer => ({
  reply: () => undefined,
  event: () => undefined,
  dial: () => {
    throw new Error('nothing is transferred here');
  },
});

describe('streams that follow tasks', () => {
  it('are remembered for as long as there is something to be told, and no longer', () => {
    const open = new Map([['open', {} as unknown as TaskRun]]);
    const news = new TaskNews({
      journal: { state: () => emptyTasks },
      files: {} as unknown as TaskFiles,
      clock: new FakeClock(),
      runOf: (taskID) => open.get(taskID),
    });
    const [one, other] = [aPeer(), aPeer()];
    news.follow('over', one);
    expect(news.followed).toBe(0);
    news.follow('open', one);
    news.follow('open', other);
    news.leave(one);
    expect(news.followed).toBe(1);
    news.leave(other);
    expect(news.followed).toBe(0);
  });
});
