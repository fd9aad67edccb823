import { SubscribeToShardCommand, type SubscribeToShardCommandInput } from '@aws-sdk/client-kinesis'
import { createFanOutClient } from '@shardwise/core'

const [config = '', input = ''] = process.argv.slice(2)
const client = createFanOutClient(JSON.parse(config) as object)
const command = new SubscribeToShardCommand(JSON.parse(input) as SubscribeToShardCommandInput)
const { EventStream = [] } = await client.send(command)
for await (const _ of EventStream as AsyncIterable<object>) break
console.log('first event')
client.destroy()
