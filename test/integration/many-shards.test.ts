import { setTimeout } from 'node:timers/promises'
import { PutRecordsCommand } from '@aws-sdk/client-kinesis'
import { Consumer } from '@shardwise/consumer'
import { createKinesisClient, silentLogger } from '@shardwise/core'
import { startLocal } from '@shardwise/local'
import { expect, test } from 'vitest'
import { connectionsTo, liveBytes } from './process-use.ts'

const STREAM = 'orders'
const SHARDS = 300
/** As many subscriptions as share one. */
const STREAMS_A_CONNECTION = 64
/** Beside those: for the calls that are over at once. */
const OTHER_CONNECTIONS = 4
const ROUNDS = 16
const RECORDS_A_ROUND = 100
const RECORD_BYTES = 10_000
const ROUND_MS = 500
const WARM_UP_ROUNDS = 4
const MIB = 2 ** 20
/** From the first half to the second, between which 6 MiB come. */
const MAX_GROWTH_MIB = 2

test('one worker reads three hundred shards by fan-out over a few connections, and its memory does not grow', async () => {
  await using local = await startLocal({ streams: { [STREAM]: SHARDS } })
  const consumer = new Consumer({
    application: 'many',
    stream: STREAM,
    retrieval: 'fanOut',
    kinesisConfig: local.kinesis,
    dynamodbConfig: local.dynamodb,
    logger: silentLogger,
  })
  let handled = 0
  const running = consumer.run({
    eachRecord: () => {
      handled++
    },
  })
  const kinesis = createKinesisClient({ ...local.kinesis, requestHandler: { httpAgent: { maxSockets: 1 } } })
  try {
    const reading = (): number => consumer.status().shards.filter(({ state }) => state === 'reading').length
    await expect.poll(reading, { timeout: 15_000, interval: 100 }).toBe(SHARDS)
    const live: number[] = []
    let mostConnections = 0
    for (let round = 1; round <= ROUNDS; round++) {
      const Records = Array.from({ length: RECORDS_A_ROUND }, () => ({
        PartitionKey: String(Math.random()),
        Data: Buffer.alloc(RECORD_BYTES),
      }))
      await kinesis.send(new PutRecordsCommand({ StreamName: STREAM, Records }))
      await setTimeout(ROUND_MS)
      if (round > WARM_UP_ROUNDS) live.push(liveBytes() / MIB)
      mostConnections = Math.max(mostConnections, connectionsTo(local.kinesisEndpoint))
    }
    await expect.poll(() => handled, { timeout: 5_000 }).toBe(ROUNDS * RECORDS_A_ROUND)
    const [early, late] = [live.slice(0, live.length / 2), live.slice(live.length / 2)]
    expect(Math.min(...late), `MiB: ${live.map((mib) => mib.toFixed(1)).join(' ')}`).toBeLessThan(
      Math.min(...early) + MAX_GROWTH_MIB,
    )
    expect(mostConnections).toBeLessThanOrEqual(Math.ceil(SHARDS / STREAMS_A_CONNECTION) + OTHER_CONNECTIONS)
  } finally {
    await consumer.close()
    await running
    kinesis.destroy()
  }
  await expect.poll(() => connectionsTo(local.kinesisEndpoint), { timeout: 5_000 }).toBe(0)
}, 60_000)
