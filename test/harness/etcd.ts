import { request } from 'undici';
import { BerthError } from '../../process/errors.ts';

/** Compacts an etcd to its newest revision: who watches from before has to begin anew. Returns the revision. */
export async function compactEtcd(url: string): Promise<number> {
  const key = Buffer.from('berth').toString('base64');
  const { header } = (await post(`${url}/v3/kv/range`, { key })) as { header: { revision: string } };
  const revision = Number(header.revision);
  await post(`${url}/v3/kv/compaction`, { revision, physical: true });
  return revision;
}

async function post(url: string, content: object): Promise<unknown> {
  const { statusCode, body } = await request(url, { method: 'POST', body: JSON.stringify(content) });
  const text = await body.text();
  if (statusCode !== 200) throw new BerthError('EtcdRefused', `${url}: ${statusCode} ${text}`);
  return JSON.parse(text);
}
