import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Random } from '../../simulation/engine/random.ts';
import { Counts, PatientCaller } from './caller.ts';

interface Scripted {
  readonly status: number;
  readonly code?: string;
  readonly retryAfter?: string;
}

describe('a patient caller', () => {
  let server: Server;
  let counts: Counts;
  let caller: PatientCaller;
  let script: Scripted[];

  beforeEach(async () => {
    script = [];
    server = createServer((_, response) => {
      const { status, code, retryAfter } = script.shift() ?? { status: 200 };
      if (retryAfter !== undefined) response.setHeader('Retry-After', retryAfter);
      response.writeHead(status).end(JSON.stringify(code === undefined ? { fine: true } : { error: { code } }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    counts = new Counts();
    caller = new PatientCaller({ urls: [url], ca: '', token: 't', random: new Random('1'), counts });
  });
  afterEach(async () => {
    await caller.close();
    server.close();
  });
  const ask = () => caller.ask({ method: 'GET', path: '/x', or: ['ReservationGone'] });

  it('comes again as it is told, and counts why', async () => {
    script = [
      { status: 503, code: 'NoSlot', retryAfter: '0' },
      { status: 429, code: 'QueueFull', retryAfter: '0' },
    ];
    expect(await ask()).toMatchObject({ status: 200, body: { fine: true } });
    expect([...counts.refusals]).toEqual([
      ['NoSlot', 1],
      ['QueueFull', 1],
    ]);
    expect(counts.wrong).toEqual([]);
  });

  it('takes a code that was named for an answer', async () => {
    script = [{ status: 404, code: 'ReservationGone' }];
    expect(await ask()).toMatchObject({ status: 404, code: 'ReservationGone' });
  });

  it.each([
    { what: '503 without Retry-After', answer: { status: 503, code: 'NoSlot' } },
    { what: '429 with a Retry-After that is no number', answer: { status: 429, code: 'QueueFull', retryAfter: 'soon' } },
    { what: '500', answer: { status: 500, code: 'Internal', retryAfter: '1' } },
    { what: '404', answer: { status: 404, code: 'TaskGone' } },
  ])('tells of $what', async ({ answer }) => {
    script = [answer];
    await expect(ask()).rejects.toThrow(`GET /x: ${answer.status}`);
    expect(counts.wrong).toHaveLength(1);
  });
});
