import { describe, expect, it } from '@jest/globals';
import { z } from 'zod';
import { listOf, loadConfig, parseConfig, settingsOf } from './config.ts';

const schema = z.object({
  port: z.coerce.number().int().min(1).max(65535).default(3001).describe('The port to listen on.'),
  nodeName: z.string().min(1).describe('The name of the node.'),
  operators: listOf(z.string().regex(/:\d+$/, 'must be host:port')).default([]).describe('The operators, host:port each.'),
  leaderElect: z.stringbool().default(true).describe('Whether to stand for election.'),
  joinToken: z.string().min(10).optional().describe('The token to join with.'),
  tlsCAFile: z.string().optional().describe('The authorities.'),
});

describe('configuration', () => {
  it.each([
    {
      when: 'only what is required is given',
      argv: [],
      env: { BERTH_NODE_NAME: 'n1' },
      want: { port: 3001, nodeName: 'n1', operators: [], leaderElect: true },
    },
    {
      when: 'a flag and a variable disagree: the flag wins',
      argv: ['--port', '4000', '--node-name=a=b'],
      env: { BERTH_NODE_NAME: 'n1', BERTH_PORT: '5000' },
      want: { port: 4000, nodeName: 'a=b', operators: [], leaderElect: true },
    },
    {
      when: 'a variable is empty: the default holds',
      argv: ['--node-name', 'n1'],
      env: { BERTH_PORT: '', BERTH_OPERATORS: '' },
      want: { port: 3001, nodeName: 'n1', operators: [], leaderElect: true },
    },
    {
      when: 'a list, switches and a name with capitals are given',
      argv: ['--node-name', 'n1', '--operators', 'a:1, b:2,', '--leader-elect=false', '--tls-ca-file', '/ca'],
      env: {},
      want: { port: 3001, nodeName: 'n1', operators: ['a:1', 'b:2'], leaderElect: false, tlsCAFile: '/ca' },
    },
    {
      when: 'a switch stands alone before another flag',
      argv: ['--leader-elect', '--node-name', 'n1'],
      env: { BERTH_LEADER_ELECT: 'false' },
      want: { port: 3001, nodeName: 'n1', operators: [], leaderElect: true },
    },
  ])('when $when', ({ argv, env, want }) => {
    expect(parseConfig(schema, { argv, env })).toEqual({ kind: 'config', config: want });
  });

  it('reports everything that is wrong at once, naming where it was said, and no secret', () => {
    const argv = ['--port', 'http', '--colour', '--operators', 'a:1,b', '--tls-ca-file'];
    expect(parseConfig(schema, { argv, env: { BERTH_JOIN_TOKEN: 'hunter2' } })).toEqual({
      kind: 'invalid',
      issues: [
        '--colour: there is no such flag',
        '--tls-ca-file: a value must follow',
        '--port: Invalid input: expected number, received NaN, but it is "http"',
        'BERTH_NODE_NAME (or --node-name) must be set',
        '--operators: must be host:port, but it is "a:1,b"',
        'BERTH_JOIN_TOKEN: Too small: expected string to have >=10 characters',
      ],
    });
  });

  it('prints the issues and exits 2', () => {
    const written: string[] = [];
    const exit = (code: number): never => {
      throw new Error(`exit ${code}`);
    };
    const from = { argv: [], env: { BERTH_PORT: '0' }, write: (text: string) => written.push(text), exit };
    expect(() => loadConfig('berth-agent', schema, from)).toThrow('exit 2');
    expect(written).toEqual([
      'berth-agent: the configuration is wrong:\n' +
        '  BERTH_PORT: Too small: expected number to be >=1, but it is "0"\n' +
        '  BERTH_NODE_NAME (or --node-name) must be set\n' +
        'See berth-agent --help.\n',
    ]);
  });

  it('prints the reference for --help and exits 0', () => {
    const written: string[] = [];
    const exit = (code: number): never => {
      throw new Error(`exit ${code}`);
    };
    expect(() => loadConfig('berth-agent', schema, { argv: ['--help'], env: {}, write: (text) => written.push(text), exit })).toThrow(
      'exit 0',
    );
    expect(written.join('')).toContain('  --port, BERTH_PORT\n      The port to listen on. (default 3001)\n');
    expect(written.join('')).toContain('  --node-name, BERTH_NODE_NAME\n      The name of the node. (required)\n');
  });

  it('lists its settings for the reference', () => {
    expect(settingsOf(schema).slice(2)).toEqual([
      { flag: '--operators', variable: 'BERTH_OPERATORS', description: 'The operators, host:port each.', default: '' },
      { flag: '--leader-elect', variable: 'BERTH_LEADER_ELECT', description: 'Whether to stand for election.', default: 'true' },
      { flag: '--join-token', variable: 'BERTH_JOIN_TOKEN', description: 'The token to join with.', default: '' },
      { flag: '--tls-ca-file', variable: 'BERTH_TLS_CA_FILE', description: 'The authorities.', default: '' },
    ]);
  });
});
