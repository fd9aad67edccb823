/**
 * How long shards stand still when workers come and go, with default settings on local servers.
 *
 *   node --conditions=shardwise-source packages/consumer/bench/fleet.ts
 */
import { setTimeout } from 'node:timers/promises'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { Consumer } from '@shardwise/consumer'
import { createKinesisClient, silentLogger } from '@shardwise/core'
import { startLocal } from '@shardwise/local'

const SHARDS = 4
const POLL_MS = 10

await using local = await startLocal({ streams: { flights: SHARDS }, limits: false })

/** One worker in this process, whose connections can be cut: no call of it settles then, as if it had died. */
class Worker {
  readonly consumer: Consumer
  readonly ended: Promise<void>
  #isCut = false

  constructor(workerId: string) {
    this.consumer = new Consumer({
      application: 'fleet',
      stream: 'flights',
      workerId,
      kinesis: this.#cuttable(createKinesisClient(local.kinesis)),
      dynamodb: this.#cuttable(new DynamoDBClient(local.dynamodb)),
      logger: silentLogger,
    })
    this.ended = this.consumer.run({ eachRecord: () => {} })
  }

  get reading(): number {
    return this.consumer.status().shards.filter(({ state }) => state === 'reading').length
  }

  cut(): void {
    this.#isCut = true
  }

  #cuttable<Client extends { send: (...call: never[]) => Promise<unknown> }>(client: Client): Client {
    const send = client.send.bind(client)
    client.send = (...call: never[]) => (this.#isCut ? new Promise(() => {}) : send(...call))
    return client
  }
}

async function measure(what: string, isSo: () => boolean): Promise<void> {
  const startedAt = performance.now()
  while (!isSo()) await setTimeout(POLL_MS)
  process.stdout.write(`${what}: ${((performance.now() - startedAt) / 1000).toFixed(1)} s\n`)
}

const even = (a: Worker, b: Worker) => (): boolean => a.reading === SHARDS / 2 && b.reading === SHARDS / 2
const all = (worker: Worker) => (): boolean => worker.reading === SHARDS

const a = new Worker('a')
await measure(`new application, until all ${SHARDS} shards are read`, all(a))
const b = new Worker('b')
await measure('second worker joins, until shards are shared evenly', even(a, b))
b.cut()
await measure('a worker is gone without a word, until its shards are read elsewhere', all(a))
const c = new Worker('c')
await measure('another joins, until shards are shared evenly', even(a, c))
a.cut()
await measure('the leader is gone without a word, until its shards are read elsewhere', all(c))
const d = new Worker('d')
await measure('another joins, until shards are shared evenly', even(c, d))
const closed = c.consumer.close()
await measure('a worker is closed, until its shards are read elsewhere', all(d))
await closed
await d.consumer.close()
await local.stop()
// The workers that were cut never settle.
process.exit(0)
