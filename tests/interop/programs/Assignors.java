// Kafka's own assignors. Groups come in on stdin, one word after another on each line:
//   case NUMBER ASSIGNOR GENERATION
//   topic NAME RACK,RACK|RACK|-      (the racks of each partition's replicas)
//   member ID INSTANCE-OR-DASH SUBSCRIPTION-IN-HEX
//   end
// For each member two lines go out, `read ID GENERATION RACK TOPIC:PARTITION..`: what the leader takes from the subscription,
// and `assigned ID ASSIGNMENT-IN-HEX SUBSCRIPTION-IN-HEX`: what the member is given, and what it would join with next.
import java.io.*;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.*;
import org.apache.kafka.clients.consumer.internals.AbstractStickyAssignor.MemberData;
import org.apache.kafka.clients.consumer.internals.ConsumerProtocol;
import org.apache.kafka.common.*;

public class Assignors {
    interface Reads { MemberData read(Subscription subscription); }

    static class Eager extends StickyAssignor implements Reads {
        public MemberData read(Subscription subscription) { return memberData(subscription); }
    }

    static class Cooperative extends CooperativeStickyAssignor implements Reads {
        public MemberData read(Subscription subscription) { return memberData(subscription); }
    }

    static ConsumerPartitionAssignor assignor(String name) {
        switch (name) {
            case "range": return new RangeAssignor();
            case "roundrobin": return new RoundRobinAssignor();
            case "sticky": return new Eager();
            case "cooperative-sticky": return new Cooperative();
            default: throw new IllegalArgumentException(name);
        }
    }

    static String hex(ByteBuffer bytes) {
        byte[] all = new byte[bytes.remaining()];
        bytes.duplicate().get(all);
        return HexFormat.of().formatHex(all);
    }

    static Node node(String rack, int id) { return new Node(id, "h", 1, rack.equals("-") ? null : rack); }

    public static void main(String[] arguments) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(new BufferedOutputStream(System.out), false, StandardCharsets.UTF_8);
        String[] head = null;
        List<PartitionInfo> partitions = new ArrayList<>();
        Map<String, Subscription> members = new LinkedHashMap<>();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "case":
                    head = words;
                    partitions.clear();
                    members.clear();
                    break;
                case "topic": {
                    String[] places = words[2].split("\\|");
                    for (int number = 0; number < places.length; number++) {
                        List<Node> nodes = new ArrayList<>();
                        for (String rack : places[number].split(",")) nodes.add(node(rack, rack.charAt(0)));
                        Node[] replicas = nodes.toArray(new Node[0]);
                        partitions.add(new PartitionInfo(words[1], number, null, replicas, replicas));
                    }
                    break;
                }
                case "member": {
                    byte[] bytes = HexFormat.of().parseHex(words[3]);
                    Subscription subscription = ConsumerProtocol.deserializeSubscription(ByteBuffer.wrap(bytes));
                    subscription.setGroupInstanceId(words[2].equals("-") ? Optional.empty() : Optional.of(words[2]));
                    members.put(words[1], subscription);
                    break;
                }
                case "end":
                    answer(head, partitions, members, out);
                    break;
                default:
                    throw new IllegalArgumentException(line);
            }
        }
        out.flush();
    }

    @SuppressWarnings("removal")
    static void answer(String[] head, List<PartitionInfo> partitions, Map<String, Subscription> members, PrintStream out) {
        out.println(String.join(" ", head));
        ConsumerPartitionAssignor assignor = assignor(head[2]);
        for (Map.Entry<String, Subscription> member : members.entrySet()) {
            Subscription subscription = member.getValue();
            List<TopicPartition> owned = subscription.ownedPartitions();
            Optional<Integer> generation = subscription.generationId();
            Optional<String> rack = subscription.rackId();
            if (assignor instanceof Reads) {
                MemberData data = ((Reads) assignor).read(subscription);
                owned = data.partitions;
                generation = data.generation;
            }
            String list = owned.stream().map(one -> " " + one.topic() + ":" + one.partition()).sorted().collect(Collectors.joining());
            out.println("read " + member.getKey() + " " + generation.orElse(-1) + " " + rack.orElse("-") + list);
        }
        Cluster cluster = new Cluster("c", List.of(), partitions, Set.of(), Set.of());
        Map<String, Assignment> given = assignor.assign(cluster, new GroupSubscription(new HashMap<>(members))).groupAssignment();
        for (Map.Entry<String, Subscription> member : members.entrySet()) {
            Assignment assignment = given.get(member.getKey());
            Subscription before = member.getValue();
            int generation = Integer.parseInt(head[3]);
            ConsumerPartitionAssignor own = assignor(head[2]);
            own.onAssignment(assignment, new ConsumerGroupMetadata("g", generation, member.getKey(), before.groupInstanceId()));
            boolean keeps = own.supportedProtocols().contains(RebalanceProtocol.COOPERATIVE);
            Subscription next = new Subscription(before.topics(), own.subscriptionUserData(new HashSet<>(before.topics())),
                keeps ? assignment.partitions() : List.of(), generation, before.rackId());
            out.println("assigned " + member.getKey() + " " + hex(ConsumerProtocol.serializeAssignment(assignment)) + " "
                + hex(ConsumerProtocol.serializeSubscription(next)));
        }
    }
}
