import { main } from '../fail.ts';
import { toStderr } from '../progress.ts';
import { ensureTools } from './toolchain.ts';
import { type ToolName, toolNames } from './tools.ts';
import { BerthError } from '../../process/errors.ts';

/** `hack/node hack/toolchain/main.ts [tool…]`: makes the tools available and prints where they are. */
await main(async () => {
  const unknown = process.argv.slice(2).find((name) => !(toolNames as string[]).includes(name));
  if (unknown !== undefined) throw new BerthError('UnknownTool', `There is no tool "${unknown}"; known: ${toolNames.join(', ')}.`);
  const wanted = process.argv.length > 2 ? (process.argv.slice(2) as ToolName[]) : toolNames;
  for (const [name, path] of Object.entries(await ensureTools(toStderr, wanted))) console.log(`${name}\t${path}`);
});
