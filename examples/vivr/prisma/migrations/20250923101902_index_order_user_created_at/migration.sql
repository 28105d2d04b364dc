CREATE INDEX CONCURRENTLY "Order_userId_createdAt_idx" ON "Order"("userId", "createdAt");
