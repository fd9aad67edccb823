/** Puts records at a steady rate into all parts of a stream, from a process of its own, until whoever started it goes away. */
import { randomUUID } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { PutRecordsCommand } from '@aws-sdk/client-kinesis'
import { createKinesisClient } from '@shardwise/core'
import type { WriterConfig } from './local-process.ts'

const INTERVAL_MS = 100

const { kinesis: config, stream, rate, bytes } = JSON.parse(process.argv[2] ?? '') as WriterConfig
const kinesis = createKinesisClient(config)
process.once('disconnect', () => process.exit(0))

let put = 0
const startedMs = performance.now()
for (;;) {
  await setTimeout(INTERVAL_MS)
  const due = Math.floor(((performance.now() - startedMs) / 1_000) * rate)
  if (due === put) continue
  const Records = Array.from({ length: Math.min(500, due - put) }, () => ({
    PartitionKey: randomUUID(),
    Data: Buffer.alloc(bytes, 'x'),
  }))
  put += Records.length
  await kinesis.send(new PutRecordsCommand({ StreamName: stream, Records }))
}
