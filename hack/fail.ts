import { BerthError, messageOf } from '../process/errors.ts';

/**
 * Runs the body of a command-line program. An expected failure (a BerthError) is printed as its one sentence and ends with status 1;
 * anything else is a defect of the program and keeps its stack.
 */
export async function main(body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    process.exitCode = 1;
    console.error(error instanceof BerthError ? `berth: ${error.message}` : error instanceof Error ? error.stack : messageOf(error));
  }
}
