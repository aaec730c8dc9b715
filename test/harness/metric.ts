import { request } from 'undici';

/** The sum of a metric over its labels, as a process tells it at `healthUrl`; 0 when it tells nothing of it. */
export async function metricOf(healthUrl: string, name: string): Promise<number> {
  const { body } = await request(`${healthUrl}/metrics`);
  const lines = (await body.text()).split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
