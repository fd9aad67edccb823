import { once } from 'node:events'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { Emulator } from './backends.ts'

/** The port that stands for "any, in clear text" in what the emulator is told to listen on. */
export const PLAIN_PORT = 1
const TLS_PORT = 2

/** Starts the npm package kinesis-local in a thread, reachable on 127.0.0.1 alone. */
export async function startKinesisLocal(): Promise<Emulator> {
  const main = fileURLToPath(import.meta.resolve('kinesis-local'))
  const quick = '1ms'
  const thread = new Worker(new URL('./kinesis-local-thread.ts', import.meta.url), {
    workerData: main,
    stdout: true,
    stderr: true,
    env: {
      KINESIS_MOCK_CERT_PATH: join(dirname(main), 'server.json'),
      KINESIS_MOCK_PLAIN_PORT: String(PLAIN_PORT),
      KINESIS_MOCK_TLS_PORT: String(TLS_PORT),
      SHARD_LIMIT: '1000',
      ON_DEMAND_STREAM_COUNT_LIMIT: '100',
      LOG_LEVEL: 'ERROR',
      CREATE_STREAM_DURATION: quick,
      DELETE_STREAM_DURATION: quick,
      SPLIT_SHARD_DURATION: quick,
      MERGE_SHARDS_DURATION: quick,
      UPDATE_SHARD_COUNT_DURATION: quick,
      UPDATE_STREAM_MODE_DURATION: quick,
      REGISTER_STREAM_CONSUMER_DURATION: quick,
      DEREGISTER_STREAM_CONSUMER_DURATION: quick,
    },
  })
  // It prints every request that it fails at.
  thread.stdout.resume()
  thread.stderr.resume()
  const [port] = (await once(thread, 'message')) as [number]
  return {
    endpoint: `http://127.0.0.1:${port}`,
    stop: async () => {
      await thread.terminate()
    },
  }
}
