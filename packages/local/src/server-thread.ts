/** The worker thread that both servers run in, so that they and their client don't take turns on one thread. */
import { parentPort, workerData } from 'node:worker_threads'
import { startDynamoDBServer } from './dynamodb-server.ts'
import { KinesisModel } from './kinesis-model.ts'
import { startKinesisServer } from './kinesis-server.ts'

export interface ServerSettings {
  readonly streams: Readonly<Record<string, number>>
  readonly limits: boolean
  readonly retentionBytes: number
  readonly retentionMs: number
  readonly kinesisPort: number
  readonly dynamodbPort: number
}

export interface ServerPorts {
  readonly kinesisPort: number
  readonly dynamodbPort: number
}

const { streams, limits, retentionBytes, retentionMs, ...ports } = workerData as ServerSettings
const model = new KinesisModel({ clock: { wallMs: () => Date.now() }, limits, retentionBytes, retentionMs })
for (const [name, shardCount] of Object.entries(streams)) {
  model.execute('CreateStream', { StreamName: name, ShardCount: shardCount })
}
const kinesis = await startKinesisServer(model, ports.kinesisPort)
const dynamodb = await startDynamoDBServer(ports.dynamodbPort)

parentPort?.once('message', () => {
  void Promise.all([kinesis.close(), dynamodb.close()]).then(() => parentPort?.close())
})
parentPort?.postMessage({ kinesisPort: kinesis.port, dynamodbPort: dynamodb.port } satisfies ServerPorts)
