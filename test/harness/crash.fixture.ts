import { Cluster } from './cluster.ts';
import { demoImage } from './images.ts';

/** Starts an instance with two running containers, one outside the runner's cgroup, and dies without stopping it: what a crashed test run leaves. Takes the instance's name. */
const cluster = await Cluster.start({ instance: process.argv[2] ?? 'crash', operators: 0, agents: false });
const image = await cluster.pushImage('demo:1', await demoImage());
const runner = cluster.runner('runner-1');
await runner.ctr('crash', 'image', 'pull', '--plain-http', image);
await runner.ctr('crash', 'run', '--detach', '--cgroup', `${runner.cgroupParent}/one`, image, 'one');
await runner.ctr('crash', 'run', '--detach', '--cgroup', '/berth-elsewhere/two', image, 'two');
process.kill(process.pid, 'SIGKILL');
