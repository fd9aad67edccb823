import { setTimeout } from 'node:timers/promises'
import { Consumer } from '@shardwise/consumer'
import { Producer } from '@shardwise/producer'
import { startLocalProcess } from './local/local-process.ts'
await using server = await startLocalProcess({ streams: { s: 16 }, limits: process.argv[3] === 'limits' })
{
  await using producer = new Producer({ stream: 's', clientConfig: server.kinesis, rateLimit: Number.POSITIVE_INFINITY })
  const all: Promise<unknown>[] = []
  for (let n = 0; n < 8000; n++) { all.push(producer.put({ partitionKey: `k${n}`, data: Buffer.alloc(8000, 'x') })); await producer.ready }
  await Promise.all(all)
}
await setTimeout(500)
const mem = (w: string) => { globalThis.gc!(); globalThis.gc!(); const m = process.memoryUsage(); console.log(w, 'heap', (m.heapUsed/2**20).toFixed(1), 'ext', (m.external/2**20).toFixed(1), 'ab', (m.arrayBuffers/2**20).toFixed(1), 'rss', (m.rss/2**20).toFixed(0), 'buffered', (consumer.status().shards.reduce((a,x)=>a+x.bufferedBytes,0)/2**20).toFixed(1)) }
const block = Promise.withResolvers<void>()
let handled = 0
const consumer = new Consumer({ application: 'apps', stream: 's', retrieval: process.argv[2] as 'fanOut', maxBufferedBytes: 8*2**20, kinesisConfig: server.kinesis, dynamodbConfig: server.dynamodb })
mem('before')
const running = consumer.run({ eachRecord: async () => { await block.promise; handled++ } })
for (let i = 0; i < 6; i++) { await setTimeout(1500); mem('blocked') }
if (process.argv[4]) { const { writeHeapSnapshot } = await import('node:v8'); writeHeapSnapshot('/tmp/proof/heap.heapsnapshot') }
block.resolve()
for (let i = 0; i < 8; i++) { await setTimeout(200); mem('running ' + handled) }
await consumer.close(); await running
mem('closed')
