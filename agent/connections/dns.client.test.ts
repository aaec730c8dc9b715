import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { dnsResolver, systemResolver } from './dns.client.ts';

const [typeA, typeAaaa] = [1, 28];
const v4 = Buffer.from([10, 0, 0, 1]);
const v6 = Buffer.from('fd000000000000000000000000000001', 'hex');

/** The answers of a DNS server by name; a name that is not here does not exist. */
const zone: Readonly<Record<string, { readonly [typeA]?: readonly Buffer[]; readonly [typeAaaa]?: readonly Buffer[] | 'broken' }>> = {
  'both.test': { [typeA]: [v4], [typeAaaa]: [v6] },
  'old.test': { [typeA]: [v4], [typeAaaa]: [] },
  'half.test': { [typeA]: [v4], [typeAaaa]: 'broken' },
};

/** The least that is an answer: the question again, and a record for each address. */
function answerTo(question: Buffer): Buffer {
  const labels: string[] = [];
  let at = 12;
  for (let length = question[at] ?? 0; length > 0; length = question[at] ?? 0) {
    labels.push(question.toString('ascii', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const type = question.readUInt16BE(at + 1) as 1 | 28;
  const found = zone[labels.join('.').toLowerCase()];
  const records = found?.[type] ?? [];
  const code = found === undefined ? 3 : records === 'broken' ? 2 : 0;
  const addresses = records === 'broken' ? [] : records;
  const header = Buffer.from(question.subarray(0, 12));
  header.writeUInt16BE(0x8180 | code, 2);
  header.writeUInt16BE(addresses.length, 6);
  header.writeUInt32BE(0, 8);
  const record = (data: Buffer) => Buffer.concat([Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 1, 0, data.length]), data]);
  return Buffer.concat([header, question.subarray(12, at + 5), ...addresses.map(record)]);
}

describe('looking up names', () => {
  let server: Socket;
  let address: string;
  beforeAll(async () => {
    server = createSocket('udp4', (question, { port, address: from }) => server.send(answerTo(question), port, from));
    server.bind(0, '127.0.0.1');
    await once(server, 'listening');
    address = `127.0.0.1:${server.address().port}`;
  });
  afterAll(() => void server.close());

  it.each([
    { name: 'both.test', want: { kind: 'Named', addresses: ['10.0.0.1', 'fd00::1'], isComplete: true } },
    { name: 'old.test', want: { kind: 'Named', addresses: ['10.0.0.1'], isComplete: true } },
    { name: 'half.test', want: { kind: 'Named', addresses: ['10.0.0.1'], isComplete: false } },
    { name: 'none.test', want: { kind: 'Silent', why: 'ENOTFOUND' } },
  ])('asks the servers of the settings: $name', async ({ name, want }) => {
    expect(await dnsResolver([address]).resolve(name)).toEqual(want);
  });

  it('says that a server is away', async () => {
    expect(await dnsResolver(['127.0.0.1:1']).resolve('both.test')).toMatchObject({ kind: 'Silent' });
  });

  it('takes addresses of servers only', () => {
    expect(() => dnsResolver(['dns.example:53'])).toThrow('ip:port');
  });

  it('asks as the machine does otherwise', async () => {
    expect(await systemResolver.resolve('localhost')).toMatchObject({ kind: 'Named', isComplete: true });
  });
});
